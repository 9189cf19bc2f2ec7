"""What turns the repository into what its users install: wheels, bills of materials, licences."""
