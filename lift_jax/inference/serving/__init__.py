"""A run as a service on the web: `lift_jax serve`; the routes are in `app`, the way to the model in `batching`."""
