/*
 * credentials_profile.c: keys of a profile in the AWS files of the operating system's user that runs the database server.
 *
 * The profile is that of option profile, else AWS_PROFILE, else "default". A profile has static keys, or a role that is assumed with the
 * keys of its source_profile, its credential_source or its web_identity_token_file; a source profile may have a role again. A
 * profile may be its own source if it has keys. A profile that is a source uses its keys before its role; the first one its role
 * before its keys. The credentials file counts before the config file, setting by setting.
 *
 * Not followed: credential_process (no program is run inside the database server), single sign-on and mfa_serial (there is nobody to ask).
 */
#include "postgres.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "utils/guc.h"

#include "store/credentials.h"

#define DM_PROFILE_FILE_MAX_BYTES (1024 * 1024)
#define DM_PROFILE_MAX_CHAIN 8

typedef struct Profiles
{
	char *config_path;
	char *credentials_path;
	DmIniEntry *config;
	DmIniEntry *credentials;
	const char *chain[DM_PROFILE_MAX_CHAIN]; /* profiles being resolved, outermost first */
	int nchain;
} Profiles;

static bool resolve(DmKeysFetch *fetch, Profiles *profiles, const char *name, DmKeys *keys);

/* The path of one of the two files, palloc'd: that of a variable, or in the home of the server's user; NULL without either. */
static char *
file_path(const char *variable, const char *name)
{
	const char *path = dm_keys_env(variable);
	const char *home = dm_keys_env("HOME");
	const struct passwd *user = home ? NULL : getpwuid(geteuid());

	if (path)
		return pstrdup(path);
	if (user)
		home = user->pw_dir;
	return home ? psprintf("%s/.aws/%s", home, name) : NULL;
}

/* Describes a file's state. */
static char *
file_state(char *path)
{
	struct stat st;

	if (!path || stat(path, &st) != 0)
		return "none";
	return psprintf("%s %llu %lld %lld.%09ld",
					path,
					(unsigned long long) st.st_ino,
					(long long) st.st_size,
					(long long) st.st_mtim.tv_sec,
					st.st_mtim.tv_nsec);
}

/* Names the files and their state; see credentials.h. */
char *
dm_profile_fingerprint(void)
{
	return psprintf("%s, %s",
					file_state(file_path("AWS_SHARED_CREDENTIALS_FILE", "credentials")),
					file_state(file_path("AWS_CONFIG_FILE", "config")));
}

/* Reads one file; one that is not there has no profiles. */
static bool
read_ini(DmKeysFetch *fetch, const char *path, DmIniEntry **entries)
{
	char *text = path ? dm_keys_read_file(path, DM_PROFILE_FILE_MAX_BYTES) : NULL;
	int line;

	*entries = NULL;
	if (!text && (!path || errno == ENOENT || errno == ENOTDIR))
		return true;
	if (!text)
		return dm_keys_fault(fetch,
							 ERRCODE_CONFIG_FILE_ERROR,
							 psprintf("in a profile: could not read file \"%s\": %m", path),
							 NULL,
							 "The operating system's user of the database server must be able to read it.");
	line = dm_ini_read(text, entries);
	if (line > 0)
		return dm_keys_fault(fetch,
							 ERRCODE_CONFIG_FILE_ERROR,
							 psprintf("in a profile: line %d of file \"%s\" is no setting", line, path),
							 NULL,
							 "Lines are [section], name = value, or comments after #.");
	return true;
}

/* A profile's setting: of the credentials file, else of the config file; NULL where neither has it. */
static const char *
setting(const Profiles *profiles, const char *profile, const char *name)
{
	const char *value = dm_ini_get(profiles->credentials, DM_INI_CREDENTIALS, profile, name);

	return value ? value : dm_ini_get(profiles->config, DM_INI_CONFIG, profile, name);
}

/* Both files by name, for a message. */
static char *
name_files(const Profiles *profiles)
{
	return psprintf("Looked in \"%s\" and \"%s\".",
					profiles->credentials_path ? profiles->credentials_path : "~/.aws/credentials",
					profiles->config_path ? profiles->config_path : "~/.aws/config");
}

/* Overwrites the secrets of what was read of a file. */
static void
wipe_entries(DmIniEntry *first)
{
	for (DmIniEntry *entry = first; entry; entry = entry->next)
	{
		if (entry->name[0] != '\0')
			dm_keys_wipe_text(entry->value);
	}
}

/* Gets the keys of the profile that the server, or the environment, names. */
bool
dm_keys_from_profile(DmKeysFetch *fetch, DmKeys *keys)
{
	const char *name = fetch->settings->profile ? fetch->settings->profile : dm_keys_env("AWS_PROFILE");
	Profiles profiles = {file_path("AWS_CONFIG_FILE", "config"),
						 file_path("AWS_SHARED_CREDENTIALS_FILE", "credentials")};
	bool done = read_ini(fetch, profiles.config_path, &profiles.config) &&
				read_ini(fetch, profiles.credentials_path, &profiles.credentials) &&
				resolve(fetch, &profiles, name ? name : "default", keys);

	wipe_entries(profiles.config);
	wipe_entries(profiles.credentials);
	return done;
}

/* Gets static keys of a profile. False, without a fault, if it has none. */
static bool
get_static(const Profiles *profiles, const char *name, DmKeys *keys)
{
	DmKeys found = {unconstify(char *, setting(profiles, name, "aws_access_key_id")),
					unconstify(char *, setting(profiles, name, "aws_secret_access_key")),
					unconstify(char *, setting(profiles, name, "aws_session_token")),
					DT_NOEND};

	if (!found.access_key_id || !found.secret_access_key)
		return false;
	dm_keys_copy(keys, &found);
	return true;
}

/* Notes that a profile has a setting which is not followed. */
static bool
fault_unsupported(DmKeysFetch *fetch, const char *name, const char *setting_name)
{
	return dm_keys_fault(fetch,
						 ERRCODE_FEATURE_NOT_SUPPORTED,
						 psprintf("in profile \"%s\": %s is not supported", name, setting_name),
						 strcmp(setting_name, "credential_process") == 0
							 ? "No program is run inside the database server."
							 : "There is nobody to sign in or to be asked inside the database server.",
						 "Give the profile keys, or a role_arn with source_profile, credential_source or "
						 "web_identity_token_file.");
}

/* Gets the keys that a profile's credential_source names. */
static bool
get_named_source(DmKeysFetch *fetch, const char *name, const char *source, DmKeys *keys)
{
	if (strcmp(source, "Environment") == 0)
		return dm_keys_from_env(fetch, keys);
	if (strcmp(source, "Ec2InstanceMetadata") == 0)
		return dm_keys_from_imds(fetch, keys);
	if (strcmp(source, "EcsContainer") == 0)
		return dm_keys_from_ecs(fetch, keys);
	return dm_keys_fault(fetch,
						 ERRCODE_CONFIG_FILE_ERROR,
						 psprintf("in profile \"%s\": unknown credential_source \"%s\"", name, source),
						 NULL,
						 "Known are Environment, Ec2InstanceMetadata and EcsContainer.");
}

/* Gets the keys that a profile's role is assumed with; the profile has source_profile or credential_source. */
static bool
get_base(DmKeysFetch *fetch, Profiles *profiles, const char *name, DmKeys *keys)
{
	const char *source_profile = setting(profiles, name, "source_profile");
	const char *credential_source = setting(profiles, name, "credential_source");

	if (source_profile && credential_source)
		return dm_keys_fault(fetch,
							 ERRCODE_CONFIG_FILE_ERROR,
							 psprintf("in profile \"%s\": it has source_profile and credential_source", name),
							 name_files(profiles),
							 "Leave one of them out.");
	if (!source_profile)
		return credential_source && get_named_source(fetch, name, credential_source, keys);
	if (strcmp(source_profile, name) == 0)
		return get_static(profiles, name, keys) ||
			   dm_keys_fault(fetch,
							 ERRCODE_CONFIG_FILE_ERROR,
							 psprintf("in profile \"%s\": it is its own source_profile and has no keys", name),
							 name_files(profiles),
							 "Set aws_access_key_id and aws_secret_access_key, or another source_profile.");
	return resolve(fetch, profiles, source_profile, keys);
}

/* Gets the keys of a profile's role. */
static bool
get_by_role(DmKeysFetch *fetch, Profiles *profiles, const char *name, DmKeys *keys)
{
	const char *token_file = setting(profiles, name, "web_identity_token_file");
	const char *duration = setting(profiles, name, "duration_seconds");
	DmRole role = {setting(profiles, name, "role_arn"),
				   setting(profiles, name, "external_id"),
				   setting(profiles, name, "role_session_name")};
	DmKeys base = {0};
	bool done;

	if (setting(profiles, name, "mfa_serial"))
		return fault_unsupported(fetch, name, "mfa_serial");
	if (duration && (!parse_int(duration, &role.duration_s, 0, NULL) || role.duration_s <= 0))
		return dm_keys_fault(fetch,
							 ERRCODE_CONFIG_FILE_ERROR,
							 psprintf("in profile \"%s\": duration_seconds is no number of seconds", name),
							 name_files(profiles),
							 NULL);
	if (!setting(profiles, name, "source_profile") && !setting(profiles, name, "credential_source"))
		return dm_keys_from_web_identity(fetch, token_file, &role, keys);
	done = get_base(fetch, profiles, name, &base) && dm_keys_assume_role(fetch, &base, &role, keys);
	dm_keys_wipe(&base);
	return done;
}

/* True if a profile says how to assume a role. */
static bool
has_role(const Profiles *profiles, const char *name)
{
	return setting(profiles, name, "role_arn") &&
		   (setting(profiles, name, "source_profile") || setting(profiles, name, "credential_source") ||
			setting(profiles, name, "web_identity_token_file"));
}

/* Notes why a profile gives no keys at all. */
static bool
fault_no_keys(DmKeysFetch *fetch, const Profiles *profiles, const char *name)
{
	static const char *const unsupported[] = {"credential_process", "sso_session", "sso_start_url"};

	for (int i = 0; i < lengthof(unsupported); i++)
	{
		if (setting(profiles, name, unsupported[i]))
			return fault_unsupported(fetch, name, unsupported[i]);
	}
	if (!dm_ini_has_profile(profiles->credentials, DM_INI_CREDENTIALS, name) &&
		!dm_ini_has_profile(profiles->config, DM_INI_CONFIG, name))
		return dm_keys_fault(
			fetch,
			ERRCODE_UNDEFINED_OBJECT,
			psprintf("in profile \"%s\": there is no such profile", name),
			name_files(profiles),
			"It is [name] in the credentials file, [profile name] in the config file. Option profile "
			"of the server names it, else AWS_PROFILE, else it is \"default\".");
	return dm_keys_fault(fetch,
						 ERRCODE_UNDEFINED_OBJECT,
						 psprintf("in profile \"%s\": it has neither keys nor a role with a source", name),
						 name_files(profiles),
						 "Set aws_access_key_id and aws_secret_access_key, or role_arn with source_profile, "
						 "credential_source or web_identity_token_file.");
}

/* Gets the keys of a profile, which may lead to other profiles. */
static bool
resolve(DmKeysFetch *fetch, Profiles *profiles, const char *name, DmKeys *keys)
{
	bool is_source = profiles->nchain > 0;
	bool done;

	for (int i = 0; i < profiles->nchain; i++)
	{
		if (strcmp(profiles->chain[i], name) == 0)
			return dm_keys_fault(fetch,
								 ERRCODE_CONFIG_FILE_ERROR,
								 psprintf("in profile \"%s\": its source_profile leads back to it", name),
								 name_files(profiles),
								 NULL);
	}
	if (profiles->nchain == DM_PROFILE_MAX_CHAIN)
		return dm_keys_fault(fetch,
							 ERRCODE_CONFIG_FILE_ERROR,
							 psprintf("in profile \"%s\": more than %d profiles lead to each other",
									  profiles->chain[0],
									  DM_PROFILE_MAX_CHAIN),
							 name_files(profiles),
							 NULL);
	profiles->chain[profiles->nchain++] = name;
	if (is_source && get_static(profiles, name, keys))
		done = true;
	else if (has_role(profiles, name))
		done = get_by_role(fetch, profiles, name, keys);
	else
		done = get_static(profiles, name, keys) || fault_no_keys(fetch, profiles, name);
	profiles->nchain--;
	return done;
}
