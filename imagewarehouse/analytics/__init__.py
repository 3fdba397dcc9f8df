"""What the rows say as a whole: named queries, the engines that answer them, and the service in front of them."""
