# shellcheck shell=sh
# The web server in Orthanc (docs/adr/0044-the-engine-is-built-from-debians-sources.md).

# A thread's stack: 100 KB are too small to read an image with nested sequences, or to decode one that is compressed.
# OpenSSL 3: without it the process dies of a client certificate. Debian's patch for OpenSSL 4 has constants that 3 does not know.
sed -i 's/^\([[:space:]]*\)-DCIVETWEB_SOVERSION=1 \\$/&\n\1-DCIVETWEB_THREAD_STACK_SIZE=2097152 -DCIVETWEB_SSL_OPENSSL_API_1_1=OFF -DCIVETWEB_SSL_OPENSSL_API_3_0=ON \\/' debian/rules
grep -q CIVETWEB_THREAD_STACK_SIZE=2097152 debian/rules
printf '\nexport DEB_CFLAGS_MAINT_APPEND = -Wno-discarded-qualifiers\n' >>debian/rules

# Orthanc leaves it to the web server to decode what was percent-encoded in a query.
option='{"decode_query_string", MG_CONFIG_TYPE_BOOLEAN,'
sed -i "s/$option \"no\"}/$option \"yes\"}/" src/civetweb.c
grep -qF "$option \"yes\"}" src/civetweb.c

# Debian testing's debhelper is newer than Debian 13's; nothing here needs what it changed.
sed -i 's/debhelper-compat (= 14)/debhelper-compat (= 13)/' debian/control
