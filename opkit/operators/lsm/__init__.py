"""LSM: latent spectral models, on grids and on point clouds."""
