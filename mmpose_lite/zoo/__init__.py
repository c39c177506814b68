"""Published weights: names, addresses, figures; and what a name means."""
