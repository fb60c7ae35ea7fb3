"""From what is asked to what is checked: one planner for the command line and the server, and one for single clips."""
