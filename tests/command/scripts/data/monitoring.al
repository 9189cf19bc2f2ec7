#----------------------------------------------------------------------------------------------------------------------#
# What the machine does, as rows of the node's own database.
#----------------------------------------------------------------------------------------------------------------------#
on error ignore
set node_insight = {}
schedule name = get_stats and time = 15 seconds task node_insight = get stats where service = operator and topic = summary and format = json
schedule name = disk_space and time = 15 seconds task if !node_insight then node_insight[Free Space Percent] = get disk percentage !dbms_dir
schedule name = cpu_percent and time = 15 seconds task if !node_insight then node_insight[CPU Percent] = get node info cpu_percent
schedule name = packets_recv and time = 15 seconds task if !node_insight then node_insight[Packets Recv] = get node info net_io_counters packets_recv
schedule name = monitor_node and time = 15 seconds task if !node_insight then monitor operators where info = !node_insight

:once:
on error goto failed
node_insight = get stats where service = operator and topic = summary and format = json
node_insight[CPU Percent] = get node info cpu_percent
node_insight[Errors In] = get node info net_io_counters errin
stream !node_insight where dbms = !default_dbms and table = node_insight
monitoring = on
end script

:failed:
print "Failed to store the node's figures"
