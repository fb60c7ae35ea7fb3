"""The coherence lab: sweeps of settings over the stories of a suite, and the table of their runs."""
