"""What a program does with QPUs: connect, send tasks, take results."""
