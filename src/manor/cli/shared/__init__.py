"""What verbs share: printing, options, carrying out."""
