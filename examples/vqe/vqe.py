"""Ground energy of a transverse-field Ising chain by a variational quantum eigensolver.

Every MPI rank optimises the same parameters. An energy and its gradient by the parameter-shift rule
take one task for each parameter; the ranks share these tasks, and the QPU shares itself among them.

    srun --qpu=emu0:2 -n 4 python vqe.py          # in a Slurm cluster with QPUs
    python vqe.py --qpu emulator                  # on a laptop, one process
"""

import argparse
import socket
import sys
import time

import numpy as np
from scipy.optimize import minimize

import openqse


def hamiltonian(spins, field):
    """-sum Z Z - field * sum X on an open chain, as an observable."""
    terms = [(f"Z{i} Z{i + 1}", -1.0) for i in range(spins - 1)]
    terms += [(f"X{i}", -field) for i in range(spins)]
    return openqse.PauliSum.from_terms(terms, spins)


def exact_energy(spins, field):
    """The chain's lowest eigenvalue, from its dense matrix."""
    index = np.arange(2**spins)
    z = 1 - 2 * (index[:, np.newaxis] >> np.arange(spins) & 1)
    matrix = np.diag(-(z[:, :-1] * z[:, 1:]).sum(axis=1).astype(float))
    for spin in range(spins):
        matrix[index, index ^ (1 << spin)] -= field
    return float(np.linalg.eigvalsh(matrix)[0])


def ansatz(spins, layers):
    """Alternating layers of the Hamiltonian's two parts, each gate with a parameter of its own."""
    builder = openqse.CircuitBuilder(spins)
    start = []
    for spin in range(spins):
        builder.h(spin)
    for layer in range(layers):
        ramp = (layer + 0.5) / layers  # begin near an adiabatic path from X to Z Z
        for spin in range(spins - 1):
            builder.rzz(builder.parameter(f"zz{layer}_{spin}"), spin, spin + 1)
            start.append(-0.8 * ramp)
        for spin in range(spins):
            builder.rx(builder.parameter(f"x{layer}_{spin}"), spin)
            start.append(-0.8 * (1 - ramp) - 0.4)
    return builder.build(), np.array(start)


def energy_and_gradient(qpu, comm, program, observable, parameters):
    """Energy and its gradient; one task for each parameter, shared among the ranks."""
    count = len(parameters)
    shifts = np.pi / 2 * np.eye(count)
    futures = {}
    for i in range(comm.rank, count, comm.size):
        # Both shifted points and the point itself: three sets of parameters in one task.
        batch = parameters + np.array([shifts[i], -shifts[i], 0 * shifts[i]])
        futures[qpu.submit_expectation(program, observable, parameters=batch)] = i
    gradient, energy = np.zeros(count), 0.0
    for future in openqse.as_completed(futures, timeout=120):
        plus, minus, here = future.result().values
        gradient[futures[future]] = (plus - minus) / 2
        energy += here / count
    return comm.allreduce(energy), comm.allreduce(gradient)


def round_trip_us(qpu, repeats=200):
    """Median time of a task of one shot on one qubit, in microseconds."""
    program = openqse.CircuitBuilder(1).h(0).measure_all().build()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        qpu.run(program, shots=1)
        times.append(time.perf_counter() - began)
    return 1e6 * float(np.median(times))


class OneProcess:
    """What the program needs of MPI where there is none."""

    rank, size = 0, 1

    def allreduce(self, value):
        return value

    def allgather(self, value):
        return [value]

    def barrier(self):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qpu", help="QPU or device (default: the job's)")
    parser.add_argument("--spins", type=int, default=8)
    parser.add_argument("--field", type=float, default=1.0)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=25)
    arguments = parser.parse_args()

    if arguments.qpu == "emulator":
        comm = OneProcess()
    else:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD

    observable = hamiltonian(arguments.spins, arguments.field)
    program, start = ansatz(arguments.spins, arguments.layers)
    exact = exact_energy(arguments.spins, arguments.field)
    with openqse.connect(arguments.qpu) as qpu:
        hosts = set(comm.allgather(socket.gethostname()))
        if comm.rank == 0:
            print(
                f"{arguments.spins} spins, {len(start)} parameters, {comm.size} ranks on "
                f"{', '.join(sorted(hosts))}, QPU {qpu.name}; exact energy {exact:.6f}",
                flush=True,
            )
        p50 = round_trip_us(qpu) if comm.rank == 0 else 0.0
        comm.barrier()

        evaluations = []

        def objective(parameters):
            energy, gradient = energy_and_gradient(qpu, comm, program, observable, parameters)
            evaluations.append(energy)
            if comm.rank == 0:
                print(f"evaluation {len(evaluations):3d}  energy {energy:.6f}", flush=True)
            return energy, gradient

        found = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": arguments.iterations, "ftol": 1e-5},
        )
        tasks = comm.allreduce(qpu.usage.tasks)
        seconds = comm.allreduce(qpu.usage.qpu_time_ns) * 1e-9

    if abs(found.fun - exact) > 0.01 * abs(exact):
        if comm.rank == 0:
            print(f"energy {found.fun:.6f} is not within 1 % of {exact:.6f}", file=sys.stderr)
        return 1
    if comm.rank == 0:
        print(
            f"demo: ok energy={found.fun:.6f} exact={exact:.6f} ranks={comm.size} "
            f"nodes={len(hosts)} tasks={tasks} qpu_seconds={seconds:.3f} "
            f"round_trip_p50_us={p50:.0f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
