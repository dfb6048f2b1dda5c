# datamill: a PostgreSQL extension. `make help` lists what there is.
MODULE_big = datamill
EXTENSION = datamill
DATA = sql/datamill--1.0.sql
PGFILEDESC = "datamill - ELT inside PostgreSQL"

SRCS = $(sort $(wildcard src/*.c) $(wildcard src/*/*.c))
OBJS = $(SRCS:.c=.o)

PG_CPPFLAGS = -Isrc
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wvla \
	-fno-semantic-interposition $(WERROR)
WERROR = $(if $(CI),-Werror,)
LIBRARIES = -lcurl -lcrypto -lz -lzstd -ljansson -lexpat -lxxhash
SHLIB_LINK = $(LIBRARIES) -Wl,--version-script=src/datamill.exports

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
override with_llvm = no
include $(PGXS)

# PGXS on Debian is built without dependency tracking: let the compiler write what each object includes.
override CFLAGS += -MMD -MP
-include $(OBJS:.o=.d)
$(shlib): src/datamill.exports
EXTRA_CLEAN = $(OBJS:.o=.d) compile_commands.json

.PHONY: help quickstart test bench fuzz unit lint format feeds

help:
	@echo 'make                        build'
	@echo 'make install                install into the Postgres of PG_CONFIG ($(PG_CONFIG))'
	@echo 'make quickstart             test/quickstart.sh: see it work in a private Postgres'
	@echo 'make test                   test/run.sh: every test, in a private Postgres'
	@echo 'make unit | lint            the parts of it that need no server'
	@echo 'make fuzz                   test/fuzz/run.sh: the codecs on made-up bytes, with sanitizers'
	@echo 'make feeds                  random feeds against an oracle; SEEDS=1000 FIRST=1'
	@echo 'make bench                  test/bench/run.sh: the yardsticks; ROWS=1000000'
	@echo 'make format                 clang-format over src/'
	@echo 'make compile_commands.json  for clangd and clang-tidy'

quickstart:
	bash test/quickstart.sh

test:
	bash test/run.sh

unit:
	bash test/run.sh unit

lint:
	bash test/run.sh lint

fuzz:
	bash test/fuzz/run.sh

SEEDS ?= 1000
FIRST ?= 1
feeds:
	DM_TAP_TIMEOUT=7200 DM_FEED_SEEDS=$(SEEDS) DM_FEED_FIRST=$(FIRST) bash test/run.sh tap cdc_feed_oracle

bench:
	bash test/bench/run.sh

format:
	clang-format -i $(SRCS) $(wildcard src/*.h) $(wildcard src/*/*.h)

# One entry a source file, written from the command that make would run for it.
compile_commands.json: $(SRCS) Makefile
	@sh test/lib/compile_commands.sh '$(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_SL)' $(SRCS) > $@

# Unit tests: a program of its own for each test/unit/NAME.c, which includes the sources it tests.
UNIT_DIR ?= test/unit
UNIT_CFLAGS = -std=gnu11 -g -O1 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers \
	$(WERROR) -Isrc -Itest/unit -I$(shell $(PG_CONFIG) --includedir-server) -D_GNU_SOURCE
$(UNIT_DIR)/%: test/unit/%.c $(SRCS) $(wildcard src/*/*.h)
	$(CC) $(UNIT_CFLAGS) -o $@ $< -L$(shell $(PG_CONFIG) --pkglibdir) -L$(shell $(PG_CONFIG) --libdir) -lpgcommon -lpgport \
	  $(LIBRARIES) -lm
