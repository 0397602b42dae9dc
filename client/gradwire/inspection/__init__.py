"""Looking inside: graphs as objects, trace tables, costs."""
