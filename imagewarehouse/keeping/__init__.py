"""What stays in the warehouse and what goes: forgetting images, retention of pictures, backups."""
