"""The wire: what the API takes and gives, as typed objects."""
