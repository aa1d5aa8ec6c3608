"""Every identity provider that is promised, as a row: how it is started, configured and asked for a token."""
