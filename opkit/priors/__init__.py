"""What fields of a kind look like, learnt from samples of them.

`autoencoder`: few numbers for a field seen at any points, and the field at any others.
`proximal`: a prior by its proximal operator, the gradient of an input-convex network.
`splitting`: inversions with priors that are known by their proximal operators.
"""
