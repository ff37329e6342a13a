# `make study` runs everything, `make test` checks everything; both set up .venv first unless the current
# environment already has all that requirements.txt asks for.

PYTHON ?= python3
ENVIRONMENT := .venv
READY := $(ENVIRONMENT)/.ready
REQUIREMENTS := requirements.txt requirements-test.txt
SUITABLE := $(shell $(PYTHON) .ci/installed.py $(REQUIREMENTS) 2>/dev/null && echo yes)
# GB for the packages and their wheels: torch brings the CUDA libraries to one platform
ROOM := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),14,5)

ifeq ($(SUITABLE),yes)
RUN :=
SETUP :=
else
RUN := PATH="$(CURDIR)/$(ENVIRONMENT)/bin:$$PATH"
SETUP := $(READY)
endif

# compiled modules are kept whatever the shell says: the study begins a process for each of its notebooks
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup study claims experiments test lint format bench gpu lab face photograph demo clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-13s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): $(REQUIREMENTS)
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v == (3, 11) or sys.exit("Python 3.11 is needed, found %d.%d: make PYTHON=python3.11 ..." % v)'
	@test -d $(ENVIRONMENT) || \
	    df -Pk . | awk 'NR == 2 && $$4 < $(ROOM) * 1e6 {print "make room on the disk: $(ROOM) GB are needed"; exit 1}'
	$(PYTHON) -m venv $(ENVIRONMENT)
	@# the study imports a third of the 16,000 modules: those are compiled when they are first imported, and kept
	$(ENVIRONMENT)/bin/python -m pip install --no-deps --no-compile $(REQUIREMENTS:%=-r %)
	touch $@

setup: $(SETUP) ## install everything into .venv (study and test do it by themselves)

# a downloaded archive is no git repository: DVC then does without, until there is one
SCM = if git rev-parse --git-dir >/dev/null 2>&1; then $(RUN) dvc config -q --local --unset core.no_scm || true; \
    else $(RUN) dvc config -q --local core.no_scm true; fi

study: setup ## run the whole study: dvc repro
	@$(SCM)
	@$(RUN) python -m lib.run --photos
	$(RUN) dvc repro

claims: setup ## (after study) train and measure the variants behind the paper's last claims; results in reports/claims.json
	$(RUN) python -m derivations.claim_variants

# the parameters that differ, and three measures of one variant: `make experiments VARIANT=no_batch`
VARIANT ?= full
experiments: setup ## print the experiments side by side
	@$(RUN) dvc exp list --name-only | grep -q . || echo "no experiments yet: docs/experiments.md"
	@$(RUN) dvc exp show --no-pager --hide-workspace --only-changed \
		--drop '.*/|Created|(?!$(VARIANT)\.)[^.]+\.($(MEASURES))$$|[^.]+\.($(OTHER_MEASURES))$$'
MEASURES := similarity|top1|mm
OTHER_MEASURES := random_pose|emd|top5|second_similarity|second_top1|face_only_emd|consistency|shape_mean_square|texture_mean_square|reread_shape|reread_texture

# three processes fill two cores, since the stages of the pipeline, with which one of them begins, often wait. A test that
# needs more threads sets their number; waiting threads must not occupy a core
test: setup ## run all tests
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(RUN) python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: setup ## check style and that notebooks hold no outputs
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) lint-imports
	$(RUN) nbstripout --verify notebooks/*.ipynb

format: setup ## put code and notebooks in order
	$(RUN) ruff check --fix .
	$(RUN) ruff format .
	$(RUN) nbstripout notebooks/*.ipynb

bench: setup ## (after study) time and check every part that has a benchmark; results in build/benchmarks
	mkdir -p build/benchmarks
	$(RUN) python -m benchmarks.rasterize --json > build/benchmarks/rasterize.json
	$(RUN) python -m benchmarks.face_model --json > build/benchmarks/face_model.json
	$(RUN) python -m benchmarks.training --json > build/benchmarks/training.json
	$(RUN) python -m benchmarks.likeness --json > build/benchmarks/likeness.json
	$(RUN) python -m benchmarks.geometry --json > build/benchmarks/geometry.json
	$(RUN) python -m benchmarks.other_photograph --held-out --json > build/benchmarks/other_photograph.json
	$(RUN) python -m benchmarks.photos data/photos/simulated --counts 300 600 1200 --json > build/benchmarks/photos.json

gpu: setup ## check and time everything on a CUDA machine; results in build/gpu_check.json
	@# tells before anything is built where there is no CUDA device
	@$(RUN) python -m benchmarks.gpu_check device
	@$(SCM)
	@$(RUN) python -m lib.run --photos
	$(RUN) dvc repro photos stage1
	$(RUN) python -m benchmarks.gpu_check rasterisers study

lab: setup ## open the notebooks in JupyterLab
	$(RUN) jupyter lab

# a face needs the face model and the networks alone; the regressor comes with the repository
face: photograph setup $(if $(value PHOTO),build/face_model_ready) ## make a face: make face PHOTO=me.jpg OUT=build/faces
	$(RUN) python -m lib.reconstruct "$$PHOTO" --out "$$OUT"
OUT ?= build/faces
export PHOTO OUT

# a mistyped name is told before anything is built
photograph: ## (before a face) tell whether PHOTO is there
	@test -n "$$PHOTO" || { echo "name a photograph or a folder: make face PHOTO=me.jpg" >&2; exit 2; }
	@test -e "$$PHOTO" || { echo "there is no $$PHOTO" >&2; exit 2; }

# DVC takes seconds to find both as they should be: it is asked where one is missing, or anything changed since
build/face_model_ready: params.yaml dvc.yaml dvc.lock $(shell find lib -name __pycache__ -prune -o -type f -print) \
    $(if $(and $(wildcard data/face_model/*.h5),$(wildcard data/networks/*.safetensors)),,FORCE) | setup
	@$(SCM)
	$(RUN) dvc repro --quiet face_model networks
	@mkdir -p build && touch $@
FORCE:

demo: setup ## open a local page where a photograph becomes a face to turn
	$(RUN) python -m lib.fitting.demo

clean: ## remove what can be made again (not data/raw, not DVC's cache)
	rm -rf build .pytest_cache .ruff_cache .hypothesis reports/notebooks data/cache data/checkpoints data/live
	find lib tests -name __pycache__ -type d -prune -exec rm -rf {} +
