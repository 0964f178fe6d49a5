"""The same Pulumi program, evaluated on this machine: recorded for tests, or made real in an AWS emulator."""
