"""What runs generations: worker, engine, run, the lanes of devices, and the percent that is shown."""
