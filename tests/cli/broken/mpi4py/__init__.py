"""mpi4py where no MPI library is installed."""
