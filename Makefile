# profenrich: builds with PGXS; src/README.md is the map.
#
#   make && sudo make install     the extension, for the PostgreSQL of PG_CONFIG
#   make demo / make demo-stop    the round trip against the stand-in platform
#   make test                     everything; parts: test-warnings test-unit test-simulation test-fuzz
#                                 test-regress test-tap test-demo
#   make bench                    side by side with the peers
#   make format                   clang-format over our own sources

EXTENSION   = profenrich
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)
MODULE_big  = profenrich

PURE_LAYERS = model platform snapshot
PURE_OBJS   = $(patsubst %.c,%.o,$(sort $(wildcard $(PURE_LAYERS:%=src/%/*.c) $(PURE_LAYERS:%=src/%/*/*.c))))
GLUE_OBJS   = $(patsubst %.c,%.o,$(sort $(wildcard src/pg/*.c)))
OBJS        = $(PURE_OBJS) $(GLUE_OBJS)

# The install script is the joined parts; the upgrade script from the version before is made from them, too.
INSTALL_PARTS = $(sort $(wildcard src/install/*.sql))
INSTALL_SQL   = build/$(EXTENSION)--$(EXTVERSION).sql
UPGRADE_SQL   = $(patsubst src/install/upgrade/%,build/$(EXTENSION)--%,$(wildcard src/install/upgrade/*--$(EXTVERSION).sql))
DATA_built    = $(INSTALL_SQL) $(UPGRADE_SQL)
DATA          = $(wildcard src/install/frozen/*.sql)
REGRESS     = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
EXTRA_CLEAN = build

PG_CPPFLAGS = -Isrc -I$(libpq_srcdir) -DPE_VERSION='"$(EXTVERSION)"'
PG_CFLAGS   = -std=gnu11 -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers \
              -Wno-declaration-after-statement -ffp-contract=off -O2
SHLIB_LINK  = -lpq -lcurl -ljson-c -lsnappy -lzstd -lz -llz4 -lm -lpthread

PG_CONFIG  ?= pg_config
# Without a server installed, make demo and make test still work: they install one first.
PGXS       := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
# LLVM bitcode serves inlining into queries; nothing here is small enough to gain by it.
override with_llvm = no
include $(PGXS)

# The pure layers are compiled without the server's include path, so that the
# layering is the compiler's business, and hidden, so that no name of ours can
# meet one of the server's 10,000 exported symbols.
PURE_WARNINGS = -Wall -Wextra -Wmissing-prototypes -Wpointer-arith -Wvla -Wshadow -Wno-unused-parameter
PURE_CFLAGS   = -std=gnu11 -O2 -g -fPIC -fno-strict-aliasing -fwrapv -ffp-contract=off -fstack-protector-strong \
                -fvisibility=hidden -MMD -MP $(PURE_WARNINGS)
$(PURE_OBJS): override CPPFLAGS = -Isrc -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 -DPE_VERSION='"$(EXTVERSION)"'
$(PURE_OBJS): override CFLAGS   = $(PURE_CFLAGS)
$(OBJS): CFLAGS += -MMD -MP
-include $(OBJS:.o=.d)
src/pg/owner.o src/pg/version.o src/pg/worker.o src/platform/http_transfer.o: $(EXTENSION).control

EXTRA_CLEAN += $(OBJS:.o=.d)

$(INSTALL_SQL): $(INSTALL_PARTS) $(EXTENSION).control
	@mkdir -p build
	cat $(filter %.sql,$^) > $@

build/$(EXTENSION)--%--$(EXTVERSION).sql: src/install/frozen/$(EXTENSION)--%.sql src/install/upgrade/%--$(EXTVERSION).sql \
		$(INSTALL_PARTS) src/install/upgrade/make_upgrade.pl $(EXTENSION).control
	@mkdir -p build
	perl src/install/upgrade/make_upgrade.pl $(filter %.sql,$^) > $@

.PHONY: format test test-warnings test-unit test-simulation test-fuzz test-regress test-tap test-demo bench demo demo-stop

format:
	clang-format -i $$(git ls-files 'src/*.c' 'src/*.h' 'test/*.c' 'test/*.h')

test:
	@test/run all

test-warnings test-unit test-simulation test-fuzz test-regress test-tap test-demo:
	@test/run $(@:test-%=%)

bench:
	@test/bench/run

demo:
	@test/demo/run

demo-stop:
	@test/demo/stop
