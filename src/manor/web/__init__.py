"""The API, git over HTTP and the status page over the same workflows."""
