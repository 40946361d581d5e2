"""A chat as Channels' tutorial teaches it: an asynchronous consumer, a group for each room, the channel layer in Redis, Daphne."""
