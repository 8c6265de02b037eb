"""What gets started: by people, by timers, and by the `turnus` command."""
