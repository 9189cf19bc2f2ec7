#----------------------------------------------------------------------------------------------------------------------#
# Messages to rows. A broker of this version is "rest": messages come with POST.
#----------------------------------------------------------------------------------------------------------------------#
on error goto failed
<run msg client where broker = rest and user-agent = anylog and log = false and topic = (
    name = !msg_topic and
    dbms = !default_dbms and
    table = !msg_table and
    column.timestamp.timestamp = "bring [ts]" and
    column.value.float = "bring [value]"
)>
msg_client = on
end script

:failed:
print "Failed to start the message client"
