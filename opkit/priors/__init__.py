"""What fields of a kind look like, learnt from samples of them.

`autoencoder`: few numbers for a field seen at any points, and the field at any others.
"""
