"""Every option of the server, one record each in `table`; and how options are read, checked and fitted to a machine."""
