"""AWS policy documents as pure functions of ARNs. No resource is created here."""
