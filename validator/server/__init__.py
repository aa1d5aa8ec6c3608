"""What listens: the data plane that gateways call and the control plane for people and Prometheus."""
