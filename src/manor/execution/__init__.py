"""What may start a process, open a connection or write on a host; nothing else in Manor may."""
