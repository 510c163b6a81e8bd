raise RuntimeError("cannot load MPI library\nlibmpi.so.40: cannot open shared object")
