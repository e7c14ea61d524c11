/*
 * sender_identity.c
 *		Under which name this cluster sends.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"

#include "pg/guc.h"
#include "pg/sender_identity.h"

const char *
pe_sender_identity(void)
{
	static char identity[MAXPGPATH + 32];

	if (pe_sender_identity_setting != NULL && pe_sender_identity_setting[0] != '\0')
		return pe_sender_identity_setting;
	if (identity[0] == '\0')
		snprintf(identity, sizeof(identity), UINT64_FORMAT ":%s", GetSystemIdentifier(), DataDir);
	return identity;
}
