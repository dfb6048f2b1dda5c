# datamill: a PostgreSQL extension. `make help` lists what there is.
MODULE_big = datamill
EXTENSION = datamill
DATA = sql/datamill--1.0.sql
PGFILEDESC = "datamill - ELT inside PostgreSQL"

SRCS = $(sort $(wildcard src/*.c) $(wildcard src/*/*.c))
OBJS = $(SRCS:.c=.o)

PG_CPPFLAGS = -I$(CURDIR)/src
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wvla \
	-fvisibility=hidden $(WERROR)
WERROR = $(if $(CI),-Werror,)
SHLIB_LINK = -lcurl -lcrypto -lz -ljansson -lexpat -lxxhash

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
override with_llvm = no
include $(PGXS)

# PGXS on Debian is built without dependency tracking: let the compiler write what each object includes.
override CFLAGS += -MMD -MP
-include $(OBJS:.o=.d)
EXTRA_CLEAN = $(OBJS:.o=.d)
