"""Dynamic registration of clients: Konnect's HTTP DCR bridge, apart from HTTP itself."""
