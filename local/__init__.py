"""Evaluates the Pulumi program on this machine: records its resources, or creates them in an AWS emulator."""
