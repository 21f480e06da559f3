"""Run other people's plugins: verified before a byte of them runs, measured while they run."""
