# pg_chunked: walk, split and process tables of any size in bounded chunks.
#
#   make && make install          build and install (PG_CONFIG names another server)
#   make installcheck             pg_regress and isolation tests on a running server
#   make prove_installcheck       TAP tests, which start their own servers
#   bash test/check.sh            all of it, on a private server

EXTENSION = pg_chunked
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)

MODULE_big = pg_chunked
OBJS = $(sort $(patsubst %.c,%.o,$(wildcard src/*.c src/*/*.c)))
DATA = $(wildcard src/$(EXTENSION)--*.sql)
PG_CPPFLAGS = -I$(srcdir)/src -DPG_CHUNKED_VERSION='"$(EXTVERSION)"'

REGRESS = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
REGRESS_OPTS = --load-extension=$(EXTENSION)
ISOLATION = $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --load-extension=$(EXTENSION)
PROVE_TESTS = test/t/*.pl
EXTRA_CLEAN = log results tmp_check

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard src/*.h src/*/*.h) $(EXTENSION).control

# Apart from installcheck: the TAP tests start servers of their own, which root may not.
.PHONY: prove_installcheck
prove_installcheck:
	$(prove_installcheck)
