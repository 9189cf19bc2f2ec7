#----------------------------------------------------------------------------------------------------------------------#
# Follows the shared ledger; the first copy is waited for, so that nothing is declared twice.
#----------------------------------------------------------------------------------------------------------------------#
# process !local_scripts/connect_ledger.al

on error ignore
if !node_type != master then blockchain seed from !ledger_conn

on error goto sync-failed
run blockchain sync where source = !blockchain_source and time = !blockchain_sync and dest = file and connection = !ledger_conn
end script

:sync-failed:
print "Failed to follow the ledger of" !ledger_conn
deploy_error = ledger
end script
