"""Running sweeps: their orders, the process that runs one, and the processes that share them."""
