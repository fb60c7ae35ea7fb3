"""A server as the command line uses it: logging in, reading answers, following and fetching generations."""
