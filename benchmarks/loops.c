/* Loops of calls in C, as a program in C makes them; what they take is timed by the caller. Built with the mpicc of the
   MPI that is measured, see loops_rank.py. */

#include <mpi.h>

void loop_barrier(const double *x, double *out, int count, long calls)
{
    for (long i = 0; i < calls; i++)
        MPI_Barrier(MPI_COMM_WORLD);
}

void loop_allreduce(const double *x, double *out, int count, long calls)
{
    for (long i = 0; i < calls; i++)
        MPI_Allreduce(x, out, count, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
}

void loop_allgather(const double *x, double *out, int count, long calls)
{
    for (long i = 0; i < calls; i++)
        MPI_Allgather(x, count, MPI_DOUBLE, out, count, MPI_DOUBLE, MPI_COMM_WORLD);
}

void loop_sendrecv(const double *x, double *out, int count, long calls)
{
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int to = (rank + 1) % size, from = (rank + size - 1) % size;
    for (long i = 0; i < calls; i++)
        MPI_Sendrecv(x, count, MPI_DOUBLE, to, 0, out, count, MPI_DOUBLE, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}
