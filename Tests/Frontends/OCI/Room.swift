// Placeholder: replaced by the room's first real test.
