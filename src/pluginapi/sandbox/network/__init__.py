"""What plugins reach of the network: by exact names, by addresses, or nothing."""
