# shellcheck shell=sh
# The server itself (docs/adr/0044-the-engine-is-built-from-debians-sources.md).

# Only the program: no shared library of its parts, no sample plugins, no documentation, no unit tests. Debian 13's plugins do not
# need any of them, and without them a build takes half the time and a third of the packages.
awk -v RS= -v ORS='\n\n' 'NR == 1 || /^Package: orthanc\n/' debian/control >debian/control.new
mv debian/control.new debian/control
sed -i -e '/^ *\(dh-sequence-cruft\|doxygen\|libjs-jquery\|locales\),$/d' -e '/^ *yui-compressor$/d' \
    -e 's/^\( *\)zlib1g-dev,$/\1zlib1g-dev/' \
    -e 's/^\( *\)libboost-all-dev,$/\1python3, libboost-date-time-dev, libboost-filesystem-dev, libboost-iostreams-dev, libboost-locale-dev, libboost-program-options-dev, libboost-regex-dev, libboost-thread-dev,/' \
    debian/control
grep -q libboost-program-options-dev debian/control
sed -i -e '/\/lib[A-Z][A-Za-z]*\.so/d' -e '/OrthancRecoverCompressedFile/d' debian/orthanc.install
# The page of the Explorer is switched off on every node: the libraries that it needs are left out.
sed -i -e 's/libboost-all-dev/libboost-thread-dev/' -e '/^override_dh_auto_configure:/,$d' debian/rules
cat >>debian/rules <<'END'
export DEB_CXXFLAGS_MAINT_STRIP = -g

override_dh_auto_configure:
	dh_auto_configure --sourcedir=OrthancServer --builddirectory=BuildServer -- $(CMAKE_EXTRA_FLAGS) $(CMAKE_EXTRA_FLAGS_SERVER) \
		-DBUILD_UNIT_TESTS:BOOL=OFF -DBUILD_RECOVER_COMPRESSED_FILE:BOOL=OFF -DBUILD_MODALITY_WORKLISTS:BOOL=OFF \
		-DBUILD_SERVE_FOLDERS:BOOL=OFF -DBUILD_HOUSEKEEPER:BOOL=OFF -DBUILD_DELAYED_DELETION:BOOL=OFF -DBUILD_MULTITENANT_DICOM:BOOL=OFF

override_dh_auto_build:
	dh_auto_build --builddirectory=BuildServer

override_dh_auto_install:
	install -D --mode=755 BuildServer/Orthanc debian/tmp/usr/sbin/Orthanc

override_dh_installchangelogs:
	dh_installchangelogs -k NEWS
END

# Whole files are read with a source of data that is made before the settings were read, so that `StoreMD5ForAttachments: false` does
# not reach it, and every file looks damaged: there is no MD5 to compare with. The catalog has a SHA-256 of each image.
sed -i 's/new StorageAreaDataSource(area_, IsStoreMD5ForAttachments())/new StorageAreaDataSource(area_, false)/' OrthancServer/Sources/ServerContext.cpp
grep -qF 'new StorageAreaDataSource(area_, false)' OrthancServer/Sources/ServerContext.cpp
