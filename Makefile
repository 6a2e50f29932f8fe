# The one entry point of the IPC lab kit.  It gives names to commands; what
# they do is in grader/ (python3 -m grader --help).  Bare `make` prints help.

PYTHON ?= /usr/bin/python3
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# Generated files go to build/; Python's own as well.
export PYTHONPYCACHEPREFIX := build/pycache
# Compiling its modules at every start would double the time of `make lab4`.
export PYTHONDONTWRITEBYTECODE :=
grader := $(PYTHON) -m grader

# Labs are discovered: labs/lab4-sysv-shm gives lab4 and demo4.
numbers := $(sort $(foreach d,$(wildcard labs/lab*-*/lab.toml), \
	$(firstword $(subst -, ,$(patsubst labs/lab%,%,$(d))))))
labs := $(addprefix lab,$(numbers))
demos := $(addprefix demo,$(numbers))

# LAB=4              this lab only; "1 4": these
# TEST=name          this test only
# FROM=dir           the files of any folder in place of labs/ (FROM=solutions)
# STRICT=1           exit 1 when points were lost
# JSON=file          where the report goes (build/report.json)
# JOBS=n             so many labs at a time (one more than there are processors)
# QUICK=1            make bench in under 10 s, and rougher
# ISOLATION=kind     auto, namespaces, uid or none
lab_options = $(foreach n,$(LAB),--lab $(n))
test_options = $(if $(TEST),--test "$(TEST)")
from_option = $(if $(FROM),--from "$(FROM)")
common_options = $(from_option) $(if $(ISOLATION),--isolation $(ISOLATION)) \
	$(if $(JOBS),--jobs $(JOBS))

# `make setup grade` and `make -j setup test` run setup first.
ifneq ($(filter setup,$(MAKECMDGOALS)),)
first := setup
endif
# The kit's own tests need more packages than grading does.
setup_for := $(if $(filter test check-kit figures bench-grader,$(MAKECMDGOALS)),all,\
	$(if $(filter bench,$(MAKECMDGOALS)),bench,run))

goals := grade debug replay doctor bench test check-kit stubs figures bench-grader
.PHONY: help setup clean $(goals) $(labs) $(demos)
$(goals) $(labs) $(demos): | $(first)

help: ## this list
	@echo "Labs: $(numbers).  Commands:"
	@sed -n 's/^\([$$a-z()-]*\):.*## \(.*\)/\1|\2/p' Makefile | \
	sed -e 's/^$$(labs)/labN/' -e 's/^$$(demos)/demoN/' | \
	awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'
	@echo "For those who teach with the kit, or change it:"
	@sed -n 's/^\([a-z-]*\):.*##i \(.*\)/\1|\2/p' Makefile | \
	awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'
	@echo "Variables, where they make sense:"
	@sed -n 's/^# \([A-Z]*=[^ ]*\)  *\(.*\)/\1|\2/p' Makefile | \
	awk -F'|' '{ printf "  %-18s %s\n", $$1, $$2 }'

setup: ## install what is missing (Debian, Ubuntu; as root or with sudo)
	@sh grader/setup.sh $(setup_for)

$(labs): ## build lab N and run its tests at once
	@$(grader) grade --quick --lab $(@:lab%=%) $(test_options) $(common_options)

grade: ## everything: tests, Valgrind, leftovers, score
	@$(grader) grade $(lab_options) $(test_options) $(common_options) \
		$(if $(STRICT),--strict) $(if $(JSON),--json "$(JSON)")

debug: ## gdb in the process that runs your code: LAB=4 TEST=name
	@$(grader) debug $(if $(LAB),--lab $(LAB)) $(test_options) $(from_option)

replay: ## one schedule of a small case again: LAB=6 SCHEDULE=test:... (GDB=1: in gdb)
	@$(grader) replay $(if $(LAB),--lab $(LAB)) $(from_option) \
		$(if $(SCHEDULE),--schedule "$(SCHEDULE)") $(if $(GDB),--gdb)

$(demos): ## build the demo program of lab N and say how to run it
	@$(grader) demo --lab $(@:demo%=%) $(from_option)

lab% demo%: # a number that no lab has
	@$(grader) grade --quick --lab "$(patsubst demo%,%,$(@:lab%=%))"

bench: ## messages against shared memory, measured: a table and a plot
	@$(grader) bench $(from_option) $(if $(QUICK),--quick) \
		$(if $(JSON),--json "$(JSON)") $(if $(ISOLATION),--isolation $(ISOLATION))

doctor: ## what this machine can and cannot do
	@$(grader) doctor

test: ##i the kit's own tests
	@$(PYTHON) -m grader.tests $(PYTEST_ARGS)

check-kit: ##i solutions full, stubs 0, every mistake caught, handouts agree
	@$(grader) check-kit $(lab_options) $(if $(JOBS),--jobs $(JOBS)) \
		$(if $(REPEAT),--repeat $(REPEAT))

stubs: ##i make the stubs in labs/ from solutions/ (what was there goes to build/replaced/)
	@$(grader) stubs

figures: ##i draw handouts/figures/*.svg from their .dot
	@$(grader) figures

bench-grader: ##i time the grader against the bare commands
	@$(PYTHON) -m grader.bench_grader

clean: ## remove everything that is generated
	@rm -rf build
