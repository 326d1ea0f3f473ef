namespace Dsv4
{
    /// <summary>How much the model thinks before it answers. A mode that the profile lacks is refused.</summary>
    public enum Reasoning
    {
        /// <summary>The profile's default: none for preview, high for 0731.</summary>
        Default = 0,
        /// <summary>It answers at once.</summary>
        None = 1,
        /// <summary>A little.</summary>
        Low = 2,
        /// <summary>As usual.</summary>
        High = 3,
        /// <summary>As much as it can.</summary>
        Max = 4
    }

    /// <summary>What opening a checkpoint and one session would take.</summary>
    public sealed class Estimate
    {
        internal Estimate(dsv4_estimate e)
        {
            WeightBytes = e.weight_bytes;
            StateBytes = e.state_bytes;
            WorkspaceBytes = e.workspace_bytes;
            AvailableHostBytes = e.available_host_bytes;
            AvailableDeviceBytes = e.available_device_bytes;
            Fits = e.fits == 1;
        }

        /// <summary>Of the tensors that config.json calls for.</summary>
        public ulong WeightBytes { get; }
        /// <summary>Of one session of the given context.</summary>
        public ulong StateBytes { get; }
        /// <summary>Of the model's own working memory.</summary>
        public ulong WorkspaceBytes { get; }
        /// <summary>Free on this machine now, 0 where the system does not say.</summary>
        public ulong AvailableHostBytes { get; }
        /// <summary>Free on the GPU that the options name, 0 for other backends.</summary>
        public ulong AvailableDeviceBytes { get; }
        /// <summary>State and workspace fit beside the mapped weights; with cuda, all three in the GPU.</summary>
        public bool Fits { get; }
    }

    /// <summary>An open model.</summary>
    public sealed class ModelInfo
    {
        private readonly uint reasoningModes;

        internal ModelInfo(dsv4_model_info i)
        {
            Fingerprint = i.fingerprint;
            WeightBytes = i.weight_bytes;
            TokenWeightBytes = i.token_weight_bytes;
            MaxContext = i.max_context;
            Vocab = i.vocab;
            Hidden = i.hidden;
            Layers = i.layers;
            Heads = i.heads;
            HeadDim = i.head_dim;
            Experts = i.experts;
            ExpertsPerToken = i.experts_per_token;
            Window = i.window;
            IndexTopK = i.index_topk;
            DraftHead = i.draft_head == 1;
            HasTokenizer = i.has_tokenizer == 1;
            Profile = (Profile)i.profile;
            ProfileFound = i.profile_found == 1;
            reasoningModes = i.reasoning_modes;
            DefaultReasoning = (Reasoning)i.default_reasoning;
            BosToken = i.bos_token;
            EosToken = i.eos_token;
            Backend = Utf8.Decode(i.backend);
            Notes = Utf8.Decode(i.notes);
        }

        /// <summary>Of config and tensor headers.</summary>
        public ulong Fingerprint { get; }
        /// <summary>Mapped tensors in use.</summary>
        public ulong WeightBytes { get; }
        /// <summary>Read to decode one token.</summary>
        public ulong TokenWeightBytes { get; }
        /// <summary>Tokens that a session can have at most.</summary>
        public ulong MaxContext { get; }
        /// <summary>Size of the vocabulary.</summary>
        public long Vocab { get; }
        /// <summary>Width of the model.</summary>
        public long Hidden { get; }
        /// <summary>Without the draft head's.</summary>
        public long Layers { get; }
        /// <summary>Heads of attention.</summary>
        public long Heads { get; }
        /// <summary>Width of a head.</summary>
        public long HeadDim { get; }
        /// <summary>Routed experts of a layer.</summary>
        public long Experts { get; }
        /// <summary>Of them, used for a token.</summary>
        public long ExpertsPerToken { get; }
        /// <summary>Tokens that attention sees one by one.</summary>
        public long Window { get; }
        /// <summary>Compressed entries that the indexer picks.</summary>
        public long IndexTopK { get; }
        /// <summary>An MTP head is loaded.</summary>
        public bool DraftHead { get; }
        /// <summary>The checkpoint has a tokenizer.</summary>
        public bool HasTokenizer { get; }
        /// <summary>In force.</summary>
        public Profile Profile { get; }
        /// <summary>Recognised from config.json; else assumed, or set by the host.</summary>
        public bool ProfileFound { get; }
        /// <summary>What <see cref="Reasoning.Default"/> is.</summary>
        public Reasoning DefaultReasoning { get; }
        /// <summary>Begins every prompt.</summary>
        public int BosToken { get; }
        /// <summary>Ends every turn.</summary>
        public int EosToken { get; }
        /// <summary>"cpu: avx512-bf16, 2 threads, oneDNN 3.2".</summary>
        public string Backend { get; }
        /// <summary>What was noticed on opening, one line each.</summary>
        public string Notes { get; }

        /// <summary>Whether the profile has a mode.</summary>
        public bool HasReasoning(Reasoning mode) => (reasoningModes & (1u << (int)mode)) != 0;
    }

    /// <summary>One layer of a model.</summary>
    public sealed class LayerInfo
    {
        internal LayerInfo(dsv4_layer_info i)
        {
            Ratio = i.ratio;
            HashRouted = i.hash_routed == 1;
            Draft = i.draft == 1;
            WeightBytes = i.weight_bytes;
            StateBytes = i.state_bytes;
        }

        /// <summary>0: window only, 4: CSA, 128: HCA.</summary>
        public int Ratio { get; }
        /// <summary>Experts by token id; else learned.</summary>
        public bool HashRouted { get; }
        /// <summary>The MTP head's block.</summary>
        public bool Draft { get; }
        /// <summary>Of the layer.</summary>
        public ulong WeightBytes { get; }
        /// <summary>For the context asked for.</summary>
        public ulong StateBytes { get; }
    }

    /// <summary>What one verb of the backend, a step of the forward pass, has cost.</summary>
    public sealed class VerbTime
    {
        internal VerbTime(dsv4_verb_time t)
        {
            Verb = Utf8.Decode(t.verb);
            Calls = t.calls;
            WeightBytes = t.weight_bytes;
            MultiplyAdds = t.multiply_adds;
            Seconds = t.seconds;
        }

        /// <summary>"linear", "experts", "attend" ...</summary>
        public string Verb { get; }
        /// <summary>How many.</summary>
        public ulong Calls { get; }
        /// <summary>Of weights and their scales that the calls had to read.</summary>
        public ulong WeightBytes { get; }
        /// <summary>Of products with these weights.</summary>
        public double MultiplyAdds { get; }
        /// <summary>Of all calls together.</summary>
        public double Seconds { get; }
    }
}
