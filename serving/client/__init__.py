"""The command line's side of a server: who asks, how an answer is read, how a generation is followed and fetched."""
