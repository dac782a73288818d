"""The command `kd`, a file for each verb."""
