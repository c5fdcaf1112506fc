"""Where the jobs of a sweep run: this machine, a Slurm cluster, Ray."""
